"""The compiled code. `compiler` chooses the instruction set and must run before any module beside it."""
