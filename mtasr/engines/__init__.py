"""What runs the network: CTranslate2, and PyTorch as the reference."""
