package ec2test

import "strings"

// publicPrefix begins the names of the parameters that AWS has for everybody.
const publicPrefix = "/aws/service/"

// publicParameter is one of Parents, nil if there is none of the name.
func publicParameter(name string) map[string]any {
	name = strings.TrimPrefix(name, "arn:aws:ssm:"+Region+"::parameter")
	for _, p := range Parents {
		if p.Parameter != "" && p.Parameter == name {
			return map[string]any{
				"Name": name, "Value": p.ID, "Type": "String", "DataType": "aws:ec2:image", "Version": 1,
				"ARN": "arn:aws:ssm:" + Region + "::parameter" + name,
			}
		}
	}
	return nil
}

// getParameter answers for public parameters; the account's own are moto's.
func (c *Cloud) getParameter(body []byte) answer {
	in, refused := read[struct{ Name string }](body)
	if refused.status != 0 || !strings.Contains(in.Name, publicPrefix) {
		return refused
	}
	if p := publicParameter(in.Name); p != nil {
		return reply(map[string]any{"Parameter": p})
	}
	return wrong("ParameterNotFound", "")
}

// getParameters does so for several, if the first is public.
func (c *Cloud) getParameters(body []byte) answer {
	in, refused := read[struct{ Names []string }](body)
	if refused.status != 0 || len(in.Names) == 0 || !strings.HasPrefix(in.Names[0], publicPrefix) {
		return refused
	}
	found, missing := []any{}, []string{}
	for _, name := range in.Names {
		if p := publicParameter(name); p != nil {
			found = append(found, p)
		} else {
			missing = append(missing, name)
		}
	}
	return reply(map[string]any{"Parameters": found, "InvalidParameters": missing})
}
