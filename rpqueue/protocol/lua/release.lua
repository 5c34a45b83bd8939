-- Give leases back before they end: what was not started goes to the head of the queue, what was interrupted too, what
-- crashed is counted and comes again or is buried.
--
-- KEYS[1..12] queue   see QueueKeys.block
-- KEYS[13]    memo    string  this session's last call
-- KEYS[14..17] index  queues, ready_queues, due_queues, wake of the app; left out on Cluster and for data queues
-- ARGV[1]     number  int     of this call in its session
-- ARGV[2]     name    text    of the queue
-- ARGV[3]     kind    text    'tasks' or 'data'
-- ARGV[4]     poison  int     crashes after which a message is buried; 0: never
-- ARGV[5]     keep    int     failed messages of one queue to keep; 0: none
-- ARGV[6]     delay   int     ms before an interrupted message may be claimed again; 0: at once
-- ARGV[7]     error   JSON    object that says how the crashed ones ended, or empty
-- ARGV[8]     history int     most records of failures to keep of a message, 1 or greater
-- ARGV[9..n]  leases  id, token, reason, ... in the order of the queue; reason is 'unstarted', 'interrupted' or 'crashed';
--                     an empty token releases whoever's lease
-- Returns {id, where it went} for each that was held: 'ready', 'scheduled', 'dead', 'lost' or 'failed'.
-- O(leases * log(leased)). Begins with a freeing write: works at maxmemory.
-- Needs: now, queue, check, memo, header, tally, counts, held, wake, publish, head, index, bury, record, end_lease
local q, memo = queue_at(1), KEYS[13]
local number, name, delay = ARGV[1], ARGV[2], tonumber(ARGV[6])
local rules = {kind = ARGV[3], poison = tonumber(ARGV[4]), keep = tonumber(ARGV[5])}
local answer = recall(memo, number)
if answer then return answer end
local now = now_ms()
local ids, tokens, reasons, buries = {}, {}, {}, false
local error_json, history = ARGV[7], tonumber(ARGV[8])
for i = 9, #ARGV, 3 do
  ids[#ids + 1], tokens[#tokens + 1], reasons[#reasons + 1] = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  buries = buries or ARGV[i + 2] ~= 'unstarted'
end
check(q, buries)
local answers = held(q, ids, tokens)
answer = {}
-- Last one first: each goes to the head, so the first ends up in front.
for i = #ids, 1, -1 do
  if answers[i] then
    local id, reason, counts = ids[i], reasons[i], counts_of(q, ids[i])
    redis.call('ZREM', q.leased, id)
    if reason == 'crashed' then
      counts.crashes = counts.crashes + 1
      if error_json ~= '' then record(q, id, reason, now, error_json, history) end
      redis.pcall('HINCRBY', q.stats, 'crashed', 1)
    elseif reason == 'interrupted' then
      counts.interruptions = counts.interruptions + 1
    end
    local later = reason == 'interrupted' and delay or 0
    table.insert(answer, 1, {id, end_lease(q, id, counts, rules, now, reason, later, true)})
  end
end
if #answer > 0 then
  reindex(q, name, 14)
  wake_workers(q, name, KEYS[17])
  remember(memo, number, answer)
end
return answer
