"""Video files: scanning, random access, windows and augmentation."""
