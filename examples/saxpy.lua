-- lua saxpy.lua /jax: a conversation from Lua, with string.pack as the only codec.
local call = assert(io.open(arg[1] .. "/programs/saxpy/call.raw", "r+b"))
call:setvbuf("no")
assert(call:write(string.pack("<ffffffff", 1, 2, 3, 4, 10, 20, 30, 40)))
call:seek("cur") -- C's rule between writing and reading; it moves nothing
local z = { string.unpack("<ffff", assert(call:read(16))) }
print(string.format("%.1f %.1f %.1f %.1f", table.unpack(z, 1, 4)))
