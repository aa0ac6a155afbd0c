"""Networks behind one interface: each folder is a family of models, `base.py` what the method may ask of any."""
