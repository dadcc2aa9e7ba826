"""What guards the answers: calibration, a threshold to be sure, a score of the unknown."""
