"""What computes an encoder's network: torch, OpenVINO or ONNX Runtime."""
