//! The supervisor: the loop, children, cgroups, broker, HTTP.
