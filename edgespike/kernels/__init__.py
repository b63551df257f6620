"""The compiled code. `compiler.configure` must run before any module beside it is imported."""
