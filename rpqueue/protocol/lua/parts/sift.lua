-- A body without the signature in front of it, `~KEY~SIGNATURE~`: the same call may come again signed with a newer key.
local function unsigned(body)
  return string.match(body, '^~[^~]*~[^~]*~(.*)$') or body
end

-- Whether two bodies are the same call. What middleware sends along, behind a line break, may differ: see with_meta().
local function is_same(one, other)
  if one == other then return true end
  one, other = unsigned(one), unsigned(other)
  local call, other_call = string.match(one, '^(.-)\n,{'), string.match(other, '^(.-)\n,{')
  if not call and not other_call then return one == other end
  return (call or string.sub(one, 1, -2)) == (other_call or string.sub(other, 1, -2))
end

-- New messages under ids that a user chose, from ARGV[at] on: id, body, id, body, ... The queue may hold an id already, with
-- the same body, which is left as it is; or in a grave, from where it is new. Returns of those to be put in: ids; id and
-- message in turn; id and first counts in turn; ids that leave a grave. And the first id that is taken by another body, if any.
local function sift(q, header, now, at)
  local fresh, fields, fences, graves, bodies = {}, {}, {}, {}, {}
  local ids = {}
  for i = at, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
  local present = redis.call('HMGET', q.messages, unpack(ids))
  for i, id in ipairs(ids) do
    local body, kept, first_token = ARGV[at + 2 * i - 1], present[i], now
    if kept and not bodies[id] and (redis.call('ZSCORE', q.dead, id) or redis.call('ZSCORE', q.lost, id)
        or redis.call('ZSCORE', q.failed, id)) then
      graves[#graves + 1] = id
      kept = nil
      first_token = math.max(now, counts_of(q, id).fence + 1)
    end
    -- It may also stand earlier in this call.
    local other = bodies[id] or kept and string.match(kept, '^[^|]*|(.*)$')
    if kept or other then
      if not is_same(other, body) then return fresh, fields, fences, graves, id end
    else
      bodies[id] = body
      fresh[#fresh + 1] = id
      fields[2 * #fresh - 1], fields[2 * #fresh] = id, header .. body
      -- The id may have been used before, so its first token must be greater than any it had then.
      fences[2 * #fresh - 1], fences[2 * #fresh] = id, string.format('%.0f 0 0 0', first_token)
    end
  end
  return fresh, fields, fences, graves
end
