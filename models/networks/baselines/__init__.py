"""The networks SAROSS-Net is compared with; docs/decisions/0006-rivals.md says what each is."""
