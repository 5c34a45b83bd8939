-- What an entry of `counts` says: fence, failures, crashes, interruptions. When there is none, or somebody else wrote it and
-- nobody can read it, those of a message that never had trouble.
local function tally(text)
  local fence, failures, crashes, interruptions = string.match(text or '', '^(%d+) (%d+) (%d+) (%d+)$')
  if not fence or #text > 63 or #fence > 15 then return 1, 0, 0, 0 end
  return tonumber(fence), tonumber(failures), tonumber(crashes), tonumber(interruptions)
end
