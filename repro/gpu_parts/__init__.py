"""What the page of a GPU is measured by: a module for each part, run in a process of its own."""
