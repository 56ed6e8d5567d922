//! Workloads of this workspace.
