"""The networks: SAROSS-Net and its parts, and the baselines that it is compared with."""
