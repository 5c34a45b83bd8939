-- What a round says of its queues: see the header of cycle.lua. KEYS[first_queue] is the first key of the first queue,
-- ARGV[at] its name. Returns for every queue its keys `q` and its `name`; `plain`, the ids acked under token 1; the places of
-- the last `kept` of these, whose outcomes are kept for `ttl`: `first_key` in KEYS and `first_outcome` in ARGV; and the full
-- acks as `ids`, `tokens` and, at the places of those that keep an outcome, `keeps`.
local function said_of_queues(count, first_queue, at)
  local queues, outcome_key = {}, first_queue + 12 * count
  for n = 1, count do
    local name, kept, ttl = ARGV[at], tonumber(ARGV[at + 2]), ARGV[at + 3]
    local first_outcome = at + 4 + tonumber(ARGV[at + 1]) + kept
    local plain, first_key = {unpack(ARGV, at + 4, first_outcome - 1)}, outcome_key
    local first_full = first_outcome + kept + 1
    local full = tonumber(ARGV[first_full - 1])
    outcome_key = outcome_key + kept
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
      q = queue_at(first_queue + 12 * (n - 1)), name = name,
      plain = plain, kept = kept, ttl = ttl, first_key = first_key, first_outcome = first_outcome,
      ids = ids, tokens = tokens, keeps = keeps,
    }
    at = first_full + 4 * full
  end
  return queues
end
