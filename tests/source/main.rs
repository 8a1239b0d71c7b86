//! Rules of the source that a compiler does not keep.
