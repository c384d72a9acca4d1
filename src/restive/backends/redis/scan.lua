-- Reads the records whose names lie in a range, names descending, as many as there is room for, one at least.
-- KEYS: names, records; ARGV: the range's upper and lower bound as ZREVRANGEBYLEX takes them, how many, room in bytes
-- Returns 1 where all were read and 0 where some were left out, then names and versions with values.
local names = redis.call('ZREVRANGEBYLEX', KEYS[1], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])
local found, room = {1}, tonumber(ARGV[4])
for _, name in ipairs(names) do
  local record = redis.call('HGET', KEYS[2], name)
  if not record then error('FOREIGN') end
  room = room - #record
  if room < 0 and #found > 1 then
    found[1] = 0
    break
  end
  found[#found + 1] = name
  found[#found + 1] = record
end
return found
