"""Loss functions: reconstruction, adversarial, penalties."""
