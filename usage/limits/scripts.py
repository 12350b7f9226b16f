"""The rate limits of one call in one atomic step inside Redis. ``usage.limits.memory`` does the same in this process.

A counter is a hash. Its clock is Redis's own, made monotonic per counter: when the server's clock steps back, ``skew`` takes
the step and time goes on from where it was. A step forward ends windows early, at most once.

Sliding window: ``used`` is the sum of the slots from ``first`` on, ``last`` the newest. Token bucket: ``used`` drains at
``limit`` per window; ``empty`` is when it last ran dry, for what was taken before has drained and cannot be given back.

``ARGV``: now in ms (empty: the server's clock), mode; then per key: kind, window in ms, limit, capacity, amount, taken at.
"""

from __future__ import annotations

import hashlib
from typing import Final

from usage.limits.types import SLOTS

DECIDE: Final = (
    f"local SLOTS, TINY = {SLOTS}, 1e-6"
    """
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local correcting = ARGV[2] == 'correct'

-- Redis may write a whole number as 1e+8, which its own commands refuse.
local function name(number) return string.format('%.0f', number) end

local function slots_of(bucket)
  local names = {}
  for slot = bucket.first, bucket.last do names[#names + 1] = name(slot) end
  return redis.call('HMGET', bucket.key, unpack(names))
end

local function load(key, base)
  local stored = redis.call('HMGET', key, 'at', 'skew', 'used', 'first', 'last', 'empty')
  local bucket = {
    key = key, sliding = ARGV[base] == 'window', window = tonumber(ARGV[base + 1]), limit = tonumber(ARGV[base + 2]),
    capacity = tonumber(ARGV[base + 3]), amount = tonumber(ARGV[base + 4]), taken_at = tonumber(ARGV[base + 5]),
    at = now, skew = tonumber(stored[2]) or 0, used = tonumber(stored[3]) or 0,
    empty = tonumber(stored[6]) or 0, gone = {},
  }
  local before = tonumber(stored[1])
  if before then
    bucket.at = now + bucket.skew
    if bucket.at < before then
      bucket.skew = bucket.skew + before - bucket.at
      bucket.at = before
      redis.call('HSET', key, 'skew', bucket.skew)
    end
  end
  if bucket.sliding then
    bucket.width = bucket.window / SLOTS
    bucket.slot = math.floor(bucket.at / bucket.width)
    local oldest = math.floor((bucket.at - bucket.window) / bucket.width)
    bucket.first, bucket.last = tonumber(stored[4]) or bucket.slot, tonumber(stored[5]) or bucket.slot
    if bucket.first < oldest then
      local counts = slots_of(bucket)
      for index, count in ipairs(counts) do
        local slot = bucket.first + index - 1
        if count and slot < oldest then
          bucket.used = bucket.used - tonumber(count)
          bucket.gone[#bucket.gone + 1] = slot
        end
      end
      bucket.first = oldest
    end
  else
    if before then bucket.used = bucket.used - (bucket.at - before) * bucket.limit / bucket.window end
    if bucket.used <= TINY then bucket.used, bucket.empty = 0, bucket.at end
  end
  return bucket
end

local function fits(bucket)
  return bucket.amount == 0 or bucket.used + bucket.amount <= bucket.capacity + TINY
end

local function wait_ms(bucket)
  if fits(bucket) then return 0 end
  if bucket.amount > bucket.capacity then return -1 end
  local excess = bucket.used + bucket.amount - bucket.capacity
  if not bucket.sliding then return math.ceil((excess - TINY) * bucket.window / bucket.limit) end
  for index, count in ipairs(slots_of(bucket)) do
    if count then
      excess = excess - tonumber(count)
      if excess <= 0 then return (bucket.first + index) * bucket.width + bucket.window - bucket.at end
    end
  end
  return -1
end

local function reset_ms(bucket)
  if bucket.used <= 0 then return 0 end
  if bucket.sliding then return (bucket.last + 1) * bucket.width + bucket.window - bucket.at end
  if bucket.limit == 0 then return 0 end
  return math.ceil(bucket.used * bucket.window / bucket.limit)
end

local function add(bucket)
  local amount, slot = bucket.amount, bucket.slot
  if bucket.sliding then
    if amount < 0 then
      slot = math.floor(bucket.taken_at / bucket.width)
      if slot < bucket.first then return end
      amount = -math.min(-amount, tonumber(redis.call('HGET', bucket.key, name(slot)) or 0))
      if amount == 0 then return end
    end
    bucket.last = math.max(bucket.last, slot)
    redis.call('HINCRBY', bucket.key, name(slot), name(amount))
    for _, gone in ipairs(bucket.gone) do redis.call('HDEL', bucket.key, name(gone)) end
    bucket.used = bucket.used + amount
    redis.call('HSET', bucket.key, 'at', bucket.at, 'skew', bucket.skew, 'used', bucket.used,
      'first', bucket.first, 'last', bucket.last)
  else
    if amount < 0 and bucket.taken_at < bucket.empty then return end
    bucket.used = math.max(0, bucket.used + amount)
    redis.call('HSET', bucket.key, 'at', bucket.at, 'skew', bucket.skew, 'used', bucket.used, 'empty', bucket.empty)
  end
  redis.call('PEXPIRE', bucket.key, name(reset_ms(bucket) + bucket.window))
end

local buckets, admitted = {}, 1
for index, key in ipairs(KEYS) do
  buckets[index] = load(key, 3 + (index - 1) * 6)
  if not (correcting or fits(buckets[index])) then admitted = 0 end
end
local reply = {admitted}
for _, bucket in ipairs(buckets) do
  local wait = correcting and 0 or wait_ms(bucket)
  if admitted == 1 and bucket.amount ~= 0 then add(bucket) end
  reply[#reply + 1] = math.max(0, math.floor(bucket.capacity - bucket.used + TINY))
  reply[#reply + 1] = reset_ms(bucket)
  reply[#reply + 1] = wait
  reply[#reply + 1] = bucket.at
end
return reply
"""
)

DECIDE_SHA1: Final = hashlib.sha1(DECIDE.encode()).hexdigest()  # noqa: S324 - Redis names scripts so
