"""What leaves: a folder with artifacts, `bundle.json` and golden pictures, and the same as a `.zip`.

No file here needs Keras, TensorFlow or pyarrow.
"""
