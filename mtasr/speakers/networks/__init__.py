"""The networks of speaker models: segmentation and embedding in NumPy, and as ONNX."""
