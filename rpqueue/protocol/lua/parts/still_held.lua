-- What a claim gave, as far as it is still held: for a caller that did not get the answer. `again` as pop() gives it.
-- Returns what pop() returns.
local function still_held(q, ids, again)
  local tokens, tries = {}, {}
  for i = 1, #ids do tokens[i] = 1 end
  for i = 1, #again, 3 do tokens[again[i]], tries[again[i]] = again[i + 1], again[i + 2] end
  local answers, kept, messages, left = held(q, ids, tokens), {}, {}, {}
  for i, id in ipairs(ids) do
    local message = answers[i] and redis.call('HGET', q.messages, id)
    if message then
      kept[#kept + 1], messages[#messages + 1] = id, message
      if tries[i] then
        left[#left + 1] = #kept
        left[#left + 1] = tokens[i]
        left[#left + 1] = tries[i]
      end
    end
  end
  return #kept > 0 and {kept, messages, left} or nil
end
