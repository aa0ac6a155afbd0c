"""LoRA adapters: teacher, student and fake model on one base network, and the files that hold them."""
