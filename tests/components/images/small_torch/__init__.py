"""A torch for images in tests: the installed one without its GPU part, packed as a wheel that pip prefers to the public one.

torch does not load without NVIDIA's libraries (12 of them, 3 GB), so those that only a GPU uses become stubs of the same name and
symbols (stubs.py), and the compiled GPU kernels become zeros (elf.py finds them). What is left trains on a CPU: 0.85 GB, as a layer
219 MB. `torch.cuda.is_available()` is False; NCCL is a stub unless a test puts the real one there (libraries.real).
"""
