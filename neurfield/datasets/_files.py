"""What every reader and writer does around its library: find it, and name the file."""

from neurfield.errors import existing, existing_file, reading
from neurfield.optional import require

__all__ = ["existing", "existing_file", "reading", "require"]
