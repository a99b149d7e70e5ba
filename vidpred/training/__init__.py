"""Training: objectives, the loop, monitors and checks of a run."""
