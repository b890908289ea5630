"""The networks: SAROSS-Net and its parts, and the baselines it is compared with."""
