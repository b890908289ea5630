"""SAR-JointNet: a diffusion model that makes SAR images together with their labels."""
