"""Lava processes of this backend. A package of their own: Lava runs every module beside one that defines a model."""
