"""Networks: the zoo, classifiers, and weights from elsewhere."""
