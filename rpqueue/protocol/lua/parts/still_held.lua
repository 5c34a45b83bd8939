-- What a claim gave, as far as it is still held: for a caller that did not get the answer. `again` as pop() gives it.
-- Returns what pop() returns.
local function still_held(q, ids, again)
  local tokens, trouble = {}, {}
  for i = 1, #ids do tokens[i] = 1 end
  for i = 1, #again, 4 do tokens[again[i]], trouble[again[i]] = again[i + 1], {again[i + 2], again[i + 3]} end
  local answers, kept, messages, left = held(q, ids, tokens), {}, {}, {}
  for i, id in ipairs(ids) do
    local message = answers[i] and redis.call('HGET', q.messages, id)
    if message then
      kept[#kept + 1], messages[#messages + 1] = id, message
      if trouble[i] then
        for _, word in ipairs({#kept, tokens[i], trouble[i][1], trouble[i][2]}) do left[#left + 1] = word end
      end
    end
  end
  return #kept > 0 and {kept, messages, left} or nil
end
