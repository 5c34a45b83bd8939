-- What a round says of its queues: see the header of cycle.lua. KEYS[first_queue] is the first key of the first queue,
-- ARGV[at] its name. Returns for every queue its keys `q`, its `name`, the plain acks `plain` (ids), and the full ones as
-- `ids`, `tokens` and, at the places of those that keep an outcome, `keeps`.
local function said_of_queues(count, first_queue, at)
  local queues, outcome_key = {}, first_queue + 12 * count
  for n = 1, count do
    local name, plain = ARGV[at], tonumber(ARGV[at + 1])
    local first_full = at + 3 + plain
    local full = tonumber(ARGV[first_full - 1])
    local ids, tokens, keeps = {}, {}, {}
    for i = 1, full do
      at = first_full + 4 * (i - 1)
      ids[i], tokens[i] = ARGV[at], ARGV[at + 1]
      if ARGV[at + 2] ~= '0' then
        keeps[i] = {key = KEYS[outcome_key], ttl = ARGV[at + 2], outcome = ARGV[at + 3]}
        outcome_key = outcome_key + 1
      end
    end
    queues[n] = {
      q = queue_at(first_queue + 12 * (n - 1)), name = name, plain = {unpack(ARGV, first_full - 1 - plain, first_full - 2)},
      ids = ids, tokens = tokens, keeps = keeps,
    }
    at = first_full + 4 * full
  end
  return queues
end
