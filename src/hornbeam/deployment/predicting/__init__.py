"""Ask a bundle: pictures in, calibrated answers out. No Keras, TensorFlow, pyarrow or pydantic."""
