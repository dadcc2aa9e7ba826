"""A training that kills its own process at a moment that is named, and what makes that hard."""

BATCH, EPOCHS = 8, 3
OPTIONS = (
    "--epochs", EPOCHS, "--batch-size", BATCH, "--image-size", 32, "--deterministic",
    "--mixup", 0.3, "--ema", 0.9, "--accumulate", 2, "--batch-norm-warmup",
    "--schedule", "plateau", "--patience", 1, "--rollback", "--save-every", "3steps",
    "--monitor", "val_loss", "--mode", "max",  # which falls: so it goes back
    "--learning-rate", 0.02,
)  # fmt: skip

RECIPE = '''
"""A small network, and what kills its process at a moment that $KILL names."""

import os
import signal

import keras

WHERE, _, STEP = os.environ.get("KILL", "").partition(":")
NUMBER = getattr(signal, os.environ.get("SIGNAL", "SIGKILL"))


def callbacks():
    return [Killer()]


class Killer(keras.callbacks.Callback):
    step = 0

    def get_state(self):
        return {"step": self.step}

    def set_state(self, state):
        self.step = state["step"]

    def kill(self, where):
        if where == WHERE and self.step == int(STEP):
            if where == "save":
                import safetensors.numpy

                # The checkpoint of this step is then half written.
                safetensors.numpy.save_file = lambda *_: os.kill(os.getpid(), NUMBER)
                return
            os.kill(os.getpid(), NUMBER)

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        self.kill("step")
        self.kill("save")

    def on_test_batch_end(self, batch, logs=None):
        self.kill("validation")
'''
