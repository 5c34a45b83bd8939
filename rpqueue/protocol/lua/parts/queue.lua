-- The keys of one queue by name, from the block of twelve KEYS that begins at `first` (QueueKeys.block).
local function queue_at(first)
  return {
    messages = KEYS[first], ready = KEYS[first + 1], scheduled = KEYS[first + 2], leased = KEYS[first + 3],
    counts = KEYS[first + 4], dead = KEYS[first + 5], lost = KEYS[first + 6], failed = KEYS[first + 7],
    errors = KEYS[first + 8], parked = KEYS[first + 9], stats = KEYS[first + 10], wake = KEYS[first + 11],
  }
end
