"""Flower's PyTorch quick start, guarded by Ringfort."""
