-- Does the steps of a batch: judges all of them on what the ones before leave, then writes, or writes nothing.
-- KEYS: versions, records, names, streams, store, announcements, then the items of each stream in the batch
-- ARGV: a mark below 2^31, three digits, an epoch's first 12 digits, then each step's kind and arguments
-- Returns {'done', a version or an offset or '' for each step} or {'conflict', the number of the step}.
local versions, records, names, streams, store, announcements = unpack(KEYS, 1, 6)
local mark, digits, epoch = ARGV[1], ARGV[2], ARGV[3]
local results, writes = {'done'}, {}
local last, previous
local held, open = {}, {}

local function write(...) writes[#writes + 1] = {...} end

-- A number above all that were given before.
local function tick()
  if not last then
    local time = redis.call('TIME')
    local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
    last = math.max(now, (tonumber(redis.call('HGET', store, 'clock') or 0) or 0) + 1)
  else
    last = last + 1
  end
  return string.format('%016d', last)
end

-- The version of a record, or false.
local function version_of(name)
  if held[name] == nil then held[name] = redis.call('HGET', versions, name) end
  return held[name]
end

-- Whether the version that a step asks for ('': any) is not the record's.
local function stale(wanted, current) return wanted ~= '' and wanted ~= (current or '0') end

-- A stream, or false.
local function stream_of(name)
  if open[name] ~= nil then return open[name] end
  local found = redis.call('HGET', streams, name)
  if found then
    local e, length, m, closed, largest, removed = string.match(found, '^(%x+) (%d+) (%d+) ([01]) (%d+) (%d+)$')
    if not e then error('FOREIGN') end
    found = {epoch = e, length = tonumber(length), mark = m, closed = closed == '1',
             largest = tonumber(largest), removed = tonumber(removed)}
  end
  open[name] = found
  return found
end

local function offset_of(stream)
  return string.format('%s_%016d_%08x', stream.epoch, stream.length, stream.mark)
end

local steps = {}

function steps.S(at)
  local name, value, wanted = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local current = version_of(name)
  if stale(wanted, current) then return end
  local version = tick() .. digits
  if not current then write('ZADD', names, 0, name) end
  write('HSET', versions, name, version)
  write('HSET', records, name, version .. value)
  held[name] = version
  return at + 3, version
end

function steps.D(at)
  local name, wanted = ARGV[at], ARGV[at + 1]
  local current = version_of(name)
  if stale(wanted, current) then return end
  if current then
    write('ZREM', names, name)
    write('HDEL', versions, name)
    write('HDEL', records, name)
    held[name] = false
  end
  return at + 2, ''
end

-- after: '-' for anywhere, '' for no such stream, else an offset
function steps.A(at, step)
  local key, name, after, keep, close = KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local stream, count = stream_of(name), tonumber(ARGV[at + 5])
  if stream and stream.closed then return end
  if after ~= '-' and after ~= (stream and offset_of(stream) or '') then return end
  if not stream then
    stream = {epoch = epoch .. string.format('%04x', step % 65536), length = 0, mark = '0', largest = 0, removed = 0}
    open[name] = stream
    write('UNLINK', key)
  end
  for item = at + 6, at + 5 + count do
    stream.length = stream.length + 1
    stream.mark = mark
    stream.largest = math.max(stream.largest, #ARGV[item])
    write('XADD', key, string.format('%d-%s', stream.length, mark), 'i', ARGV[item])
  end
  -- One more than asked for stays: the place behind it is where readers may begin.
  if keep ~= '0' and stream.length - stream.removed > tonumber(keep) + 1 then
    write('XTRIM', key, 'MINID', '~', string.format('%d', stream.length - tonumber(keep)))
    writes[#writes].stream = stream
  end
  stream.closed = close == '1'
  return at + 6 + count, offset_of(stream)
end

function steps.X(at)
  write('UNLINK', KEYS[tonumber(ARGV[at])])
  open[ARGV[at + 1]] = false
  return at + 2, ''
end

-- Large ones leave room for fewer: about 64 MiB of them are kept.
function steps.N(at)
  local payload = ARGV[at]
  local keep = math.min(10000, math.max(64, math.floor(67108864 / (#payload + 1))))
  if not previous then
    previous = redis.call('HGET', store, 'announced')
    if not previous then
      previous = '0-0'
      write('UNLINK', announcements)
    end
  end
  local id = tick() .. '-' .. mark
  write('XADD', announcements, 'MAXLEN', '~', keep, id, 'p', previous, 'd', payload)
  previous = id
  return at + 1, ''
end

local at, count = 4, 0
while ARGV[at] do
  local next, result = steps[ARGV[at]](at + 1, count)
  if not next then return {'conflict', count} end
  at, count = next, count + 1
  results[count + 1] = result
end

for _, command in ipairs(writes) do
  local reply = redis.call(unpack(command))
  if command.stream then command.stream.removed = command.stream.removed + reply end
end
for name, stream in pairs(open) do
  if stream then
    redis.call('HSET', streams, name, string.format('%s %d %s %d %d %d', stream.epoch, stream.length,
      stream.mark, stream.closed and 1 or 0, stream.largest, stream.removed))
  else
    redis.call('HDEL', streams, name)
  end
end
if last then redis.call('HSET', store, 'clock', string.format('%d', last)) end
if previous then redis.call('HSET', store, 'announced', previous) end
return results
