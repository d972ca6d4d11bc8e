"""Storage backends: safetensors files, PyTorch files, and memory."""
