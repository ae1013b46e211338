"""ndeploy: trained spiking transformers and NIR networks, compiled to bit-exact programs for Loihi-class chips."""

__version__ = "0.1.0"
