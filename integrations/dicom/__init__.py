"""DICOM: images and orders in, structured reports back."""
