//! Sources, plans and schedules that keep a tiered cache warm.
