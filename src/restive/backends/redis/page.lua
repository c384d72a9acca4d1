-- Reads items of a stream behind an offset: as many as asked for, or as there is room for, one at least.
-- KEYS: streams, the stream's items
-- ARGV: the stream, how many items, room in bytes; then of the offset epoch, position and mark, '' for the start
-- Returns {'page', the epoch, position and mark behind the last item, closed and up to date as 0 or 1,
-- the items, or where they are small their sizes as text and the items end to end}, or {why there is none}.
local found = redis.call('HGET', KEYS[1], ARGV[1])
if not found then return {'none'} end
local epoch, length, mark, closed, largest, removed = string.match(found, '^(%x+) (%d+) (%d+) ([01]) (%d+) (%d+)$')
if not epoch then error('FOREIGN') end
length, largest, removed = tonumber(length), tonumber(largest), tonumber(removed)

-- The oldest entry that is left after a removal is no item any more: it only shows where readers may begin.
local oldest = removed > 0 and removed + 1 or 0
local position, wanted = oldest, nil
if ARGV[4] ~= '' then
  if ARGV[4] ~= epoch then return {'epoch'} end
  position, wanted = tonumber(ARGV[5]), ARGV[6]
  if position > length then return {'behind'} end
  if position < oldest then return {'trimmed'} end
  if position == 0 and wanted ~= '0' or position == length and wanted ~= mark then return {'lost'} end
end

-- Entries are fetched by so many that they cannot be much more than there is room for.
local limit, room = tonumber(ARGV[2]), tonumber(ARGV[3])
local step = math.floor(room / math.max(largest, 1)) + 2
local items, sizes, count, full = {}, {}, 0, false
local from = position > 0 and string.format('%d-0', position) or '-'
local behind = position == length and mark or '0'
local anchor = position > 0 and position < length
while not full and position + count < length and count < limit do
  local entries = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', math.min(limit - count + 1, step))
  if #entries == 0 then error('FOREIGN') end
  for _, entry in ipairs(entries) do
    local id, item = entry[1], entry[2][2]
    if anchor then
      local number, its = string.match(id, '^(%d+)-(%d+)$')
      if tonumber(number) ~= position then error('FOREIGN') end
      if wanted and wanted ~= its then return {'lost'} end
      anchor, behind = false, its
    else
      room = room - #item
      full = count == limit or room < 0 and count > 0
      if full then break end
      count = count + 1
      items[count], sizes[count] = item, #item
      behind = id
    end
    from = '(' .. id
  end
end
if count > 0 then
  -- Positions have no gaps: where one is missing, entries were removed by others.
  local number, its = string.match(behind, '^(%d+)-(%d+)$')
  if tonumber(number) ~= position + count then error('FOREIGN') end
  behind = its
end
local at_end = position + count == length
local page = {'page', epoch, position + count, behind, at_end and tonumber(closed) or 0, at_end and 1 or 0}
if largest > 4096 then
  page[7] = items
else
  -- A client reads many short strings far more slowly than one that is long.
  page[7], page[8] = table.concat(sizes, ' '), table.concat(items)
end
return page
