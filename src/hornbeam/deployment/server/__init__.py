"""A bundle over HTTP, in one process: pictures in, calibrated answers out.

connections.py   bytes to requests, and signals: uvicorn's, with bounds and a graceful stop
guards.py        around each request: token, headers of safety, log, counts
intake.py        a request's body within its limits; forms.py: the pictures in it
pipeline.py      threads that decode, and one that asks the model about what has come together
swapping.py      another bundle takes the place of the one that serves
app.py           the addresses, with the shapes of schemas.py; page.py: the page to try it

No file here needs Keras, TensorFlow or pyarrow.
"""
