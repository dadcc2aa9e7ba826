#!/bin/sh
# The same training on many machines: each line below is one way to start it.
#
#     sh examples/cluster.sh hosts|slurm|mpi|kubernetes [options of hornbeam train]
#
# The batches are the same however many machines there are. All ways read DATA where it is: on a disk that
# all machines see, or in an object store. What is in capitals can be set from outside.
set -eu

DATA=${DATA:-/data/photos-shards}
RUN=${RUN:-/data/runs/photos-1}
HOSTS=${HOSTS:-10.0.0.1,10.0.0.2}
USER_THERE=${USER_THERE:-ubuntu}
NODES=${NODES:-2}
IMAGE=${IMAGE:-registry.example.org/hornbeam:0.1}
CLAIM=${CLAIM:-photos}

way=${1:-}
[ $# -gt 0 ] && shift

case $way in
hosts) # machines that ssh reaches, and nothing else; the first is the head
    hornbeam train "$DATA" --run "$RUN" --hosts "$HOSTS" --user "$USER_THERE" "$@"
    ;;
slurm) # writes a batch script and submits it; a job that is put back in the queue goes on by itself
    hornbeam cluster sbatch "$DATA" --run "$RUN" --nodes "$NODES" "$@"
    ;;
mpi) # one process a machine, which has all its cores; they meet at the first. Again, and it goes on
    mpirun --bind-to none -n "$NODES" -H "$HOSTS" -x HORNBEAM_COORDINATOR="${HOSTS%%,*}:29400" \
        hornbeam train "$DATA" --run "$RUN" --resume "$@"
    ;;
kubernetes) # without the last line the manifest is printed; the claim is of a disk that is mounted at /data
    hornbeam cluster manifest "$DATA" --run "$RUN" --nodes "$NODES" --image "$IMAGE" --claim "$CLAIM" "$@" |
        kubectl apply -f -
    ;;
*)
    echo "usage: sh examples/cluster.sh hosts|slurm|mpi|kubernetes [options]" >&2
    exit 2
    ;;
esac
