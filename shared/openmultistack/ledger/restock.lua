-- What a region offers was read anew, as what was known of it proved stale.
-- KEYS  region (hash), catalogue (string: JSON), versions (hash: of catalogues), unsuited (hash: region
--       to version), refused (hash: kind of order to what the region said), version (string)
-- ARGV  1 region, 2 catalogue as JSON
-- Returns  1
-- Safe to repeat.
version = KEYS[6]
stock(ARGV[1], KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[2])
return 1
