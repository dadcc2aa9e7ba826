"""Many machines: which are ready, how workers are started and watched there. It knows no stage."""
