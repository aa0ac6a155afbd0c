"""Backbones behind one interface, LoRA adapters and the GAN head. Import from the submodules: they need diffusers."""
