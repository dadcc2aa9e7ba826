"""Model files of strangers: looked through before Keras builds anything of them.

Keras' safe mode refuses code, and is used as well. What it lets through is refused here: layers that
read files or load other models, sizes that are declared and not there, links to other files.
"""
