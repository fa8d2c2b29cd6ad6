"""DICOM files: guarded reading, and images, structures, dose and plans of them."""
