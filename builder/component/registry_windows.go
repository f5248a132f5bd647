package component

import (
	"errors"
	"fmt"

	winregistry "golang.org/x/sys/windows/registry"
)

// systemRegistry is the machine's own, as 64-bit programs see it.
type systemRegistry struct{}

func (systemRegistry) set(key registryKey, name string, v registryValue) (err error) {
	hives := map[string]winregistry.Key{
		"HKEY_CLASSES_ROOT":   winregistry.CLASSES_ROOT,
		"HKEY_USERS":          winregistry.USERS,
		"HKEY_LOCAL_MACHINE":  winregistry.LOCAL_MACHINE,
		"HKEY_CURRENT_CONFIG": winregistry.CURRENT_CONFIG,
		"HKEY_CURRENT_USER":   winregistry.CURRENT_USER,
	}
	k, _, err := winregistry.CreateKey(hives[key.hive], key.path, winregistry.SET_VALUE)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	switch v.kind {
	case registryText:
		return k.SetStringValue(name, v.text)
	case registryExpandable:
		return k.SetExpandStringValue(name, v.text)
	case registryTexts:
		return k.SetStringsValue(name, v.texts)
	case registryDWord:
		return k.SetDWordValue(name, uint32(v.number))
	case registryQWord:
		return k.SetQWordValue(name, v.number)
	case registryBinary:
		return k.SetBinaryValue(name, v.data)
	}
	return fmt.Errorf("unknown type %s", v.kind)
}
