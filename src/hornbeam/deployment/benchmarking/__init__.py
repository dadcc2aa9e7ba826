"""How quick, large and good the artifacts of bundles are on this machine, side by side.

Each artifact is in a process of its own, so that its memory is its own; they are asked by turns, so that
whatever else the machine does meanwhile hits all alike.
"""
