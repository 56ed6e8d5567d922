-- Evicts, to make up for what a write has left.
--
-- KEYS and ARGV: those of `track`. Answers whether there is still too much, and how many went.

local more, evicted = evict(1000, 0, 0)
return { more and 1 or 0, evicted }
